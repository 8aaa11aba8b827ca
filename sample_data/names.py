"""Invent names, addresses and passwords from a seeded generator."""

from __future__ import annotations

from random import Random

COUNTRIES = ("DE", "FR", "GB", "NL", "ES", "IT", "PL", "SE", "IE", "PT")
COUNTRY_WEIGHTS = (22, 16, 16, 10, 9, 9, 7, 5, 3, 3)

# Reserved for examples and documentation (RFC 2606, RFC 6761): no mail ever reaches anybody there.
_DOMAINS = ("example.com", "example.org", "example.net", "mailbox.example", "post.example", "woodgrove.example")
_DOMAIN_WEIGHTS = (26, 18, 14, 16, 14, 12)

# As shown, and as it appears in an address.
_GIVEN = (
    ("Alma", "alma"), ("Anton", "anton"), ("Beatriz", "beatriz"), ("Björn", "bjorn"), ("Carla", "carla"),
    ("Chloé", "chloe"), ("Daria", "daria"), ("Diego", "diego"), ("Elif", "elif"), ("Emil", "emil"),
    ("Farah", "farah"), ("Finn", "finn"), ("Giulia", "giulia"), ("Greta", "greta"), ("Hanna", "hanna"),
    ("Hugo", "hugo"), ("Ines", "ines"), ("Ivan", "ivan"), ("Jamal", "jamal"), ("Jana", "jana"),
    ("Karim", "karim"), ("Katja", "katja"), ("Lena", "lena"), ("Luca", "luca"), ("Łukasz", "lukasz"),
    ("Maeve", "maeve"), ("Mateo", "mateo"), ("Nadia", "nadia"), ("Niamh", "niamh"), ("Olga", "olga"),
    ("Oscar", "oscar"), ("Pia", "pia"), ("Quentin", "quentin"), ("Rosa", "rosa"), ("Søren", "soren"),
    ("Tariq", "tariq"), ("Tilda", "tilda"), ("Ugo", "ugo"), ("Vera", "vera"), ("Wanda", "wanda"),
    ("Xenia", "xenia"), ("Yusuf", "yusuf"), ("Zoë", "zoe"), ("陽子", "yoko"), ("Ελένη", "eleni"),
)  # fmt: skip
_FAMILY = (
    ("Abascal", "abascal"), ("Almeida", "almeida"), ("Andersson", "andersson"), ("Bakker", "bakker"),
    ("Bauer", "bauer"), ("Brennan", "brennan"), ("Caruso", "caruso"), ("Castro", "castro"), ("Dubois", "dubois"),
    ("Dvořák", "dvorak"), ("Ekström", "ekstrom"), ("Esposito", "esposito"), ("Fischer", "fischer"),
    ("Fontaine", "fontaine"), ("Gallagher", "gallagher"), ("García", "garcia"), ("Haddad", "haddad"),
    ("Holm", "holm"), ("Ivanova", "ivanova"), ("Jansen", "jansen"), ("Kowalska", "kowalska"), ("Krüger", "krueger"),
    ("Lambert", "lambert"), ("Lopes", "lopes"), ("Marín", "marin"), ("Moreau", "moreau"), ("Nakamura", "nakamura"),
    ("Neumann", "neumann"), ("Okonkwo", "okonkwo"), ("Oliveira", "oliveira"), ("Papadakis", "papadakis"),
    ("Pereira", "pereira"), ("Quinn", "quinn"), ("Rahman", "rahman"), ("Rossi", "rossi"), ("Sandberg", "sandberg"),
    ("Schäfer", "schaefer"), ("Taylor", "taylor"), ("Tremblay", "tremblay"), ("Ulrich", "ulrich"),
    ("Van Leeuwen", "vanleeuwen"), ("Vogel", "vogel"), ("Wiśniewski", "wisniewski"), ("Yıldız", "yildiz"),
    ("Zimmer", "zimmer"),
)  # fmt: skip

_WORDS = (
    "amber", "anchor", "basket", "beacon", "bramble", "candle", "canyon", "cedar", "cobalt", "cricket", "drizzle",
    "ember", "falcon", "fennel", "garnet", "ginger", "hazel", "hollow", "island", "jasmine", "kettle", "lantern",
    "lichen", "magnet", "meadow", "nectar", "nimbus", "orchid", "otter", "pebble", "pepper", "quarry", "raven",
    "ripple", "saffron", "sparrow", "thistle", "timber", "umber", "velvet", "walnut", "willow", "yarrow", "zephyr",
)  # fmt: skip
_NON_ASCII = ("Größe", "Été", "Señal", "Łódź", "Ölkanne", "Çınar")


def person(rng: Random, taken: set[str]) -> tuple[str, str]:
    """Invent a display name and an address that nobody has yet.

    Args:
        rng: the seeded generator.
        taken: addresses in use; the new one is added.
    """
    given, family = rng.choice(_GIVEN), rng.choice(_FAMILY)
    domain = rng.choices(_DOMAINS, _DOMAIN_WEIGHTS)[0]
    address = f"{given[1]}.{family[1]}@{domain}"
    while address in taken:
        address = f"{given[1]}.{family[1]}{rng.randint(2, 99)}@{domain}"
    taken.add(address)
    return f"{given[0]} {family[0]}", address


def untidy(address: str, rng: Random) -> str:
    """Write an address as a careless form stored it: capitals, and blanks around it."""
    local, _, domain = address.partition("@")
    capitals = rng.choice((address.upper(), f"{local.title()}@{domain}", f"{local}@{domain.upper()}"))
    return rng.choice((f" {capitals}", f"{capitals} ", f"  {capitals}  ", f"{capitals}   "))


def strong_password(rng: Random) -> str:
    """Invent a password that External ID accepts: 8 to 256 ASCII characters of at least three classes."""
    first, second = rng.sample(_WORDS, 2)
    between = rng.choice("-_.+!, ")
    return f"{first.capitalize()}{between}{second}{rng.randint(10, 9999)}{rng.choice(('', '', '!', '?', '&', chr(34)))}"


def weak_password(rng: Random) -> str:
    """Invent a password short of External ID's policy: too short, or of fewer than three classes."""
    word = rng.choice([word for word in _WORDS if len(word) >= 6])
    digits = rng.randint(10, 99)
    return rng.choice((f"{word}{digits}", f"{word}{rng.choice(_WORDS)}", f"{word[:4].capitalize()}{digits}!"))


def non_ascii_password(rng: Random) -> str:
    """Invent a long password with letters that External ID does not take."""
    return f"{rng.choice(_NON_ASCII)}-{rng.choice(_WORDS)}-{rng.randint(10, 9999)}"
