"""Make the invented users of a legacy store, and what these people type.

    python sample_data/make.py

rewrites `legacy_users.csv` and `people.csv` beside this file, byte for byte the same on every run.
`README.md` tells what is in them. Nobody in them exists.
"""

from __future__ import annotations

import argparse
import csv
import io
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from random import Random

import hashing
import names

SEED = 20261101
ROWS = 2000
EXPORTED_ON = date(2026, 11, 1)

COLUMNS = (
    "username",
    "password_hash",
    "status",
    "must_change",
    "display_name",
    "country",
    "app",
    "last_legacy_sign_in",
    "hash_scheme",
)

# How many people get each awkward trait, beside the personas.
ACCOUNTS = {
    "locked": 24,
    "disabled": 30,
    "must_change": 36,
    "weak": 180,
    "non_ascii_password": 12,
    "malformed": 12,
    "empty_hash": 6,
    "null_hash": 4,
    "padded_hash": 8,
    "duplicate": 6,
}
ADDRESSES = {"untidy": 40, "plus_tag": 20, "apostrophe": 10}


@dataclass(frozen=True)
class Person:
    """One row of the export, and what its owner types."""

    address: str
    display_name: str
    password: str
    scheme: str
    country: str
    app: str
    last_sign_in: str
    trait: str = ""
    exported_address: str = ""

    def row(self, rng: Random) -> list[str]:
        """Write the row as the legacy store exports it."""
        status = self.trait if self.trait in ("locked", "disabled") else "active"
        must_change = "1" if self.trait == "must_change" else "0"
        hashed = hashing.make(self.scheme, self.password, rng)
        match self.trait:
            case "malformed":
                hashed = hashing.damage(self.scheme, hashed)
            case "empty_hash":
                hashed = ""
            case "null_hash":
                hashed = "NULL"
            case "padded_hash":
                hashed = hashed.ljust(128)
        username = self.exported_address or self.address
        profile = (self.display_name, self.country, self.app, self.last_sign_in, self.scheme)
        return [username, hashed, status, must_change, *profile]


PERSONAS = (
    ("ada", "Ada Lindqvist", "Copper-Lantern-42", "bcrypt", "SE", "Webshop", ""),
    ("ben", "Ben Okafor", "Quiet.River.7781", "argon2id", "GB", "Partner portal", ""),
    ("cleo", "Cleo Marchetti", "sunflower", "pbkdf2-sha256", "IT", "Webshop", "weak"),
    ("dan", "Dan Whitfield", "Paper-Kite-1963", "bcrypt", "IE", "Mobile app", "locked"),
    ("eve", "Eve Novák", "Winter+Orchard+5", "ssha", "PL", "Loyalty club", "must_change"),
    ("fay", "Fay Delacroix", "Marble_Spoon_88", "argon2id", "FR", "Webshop", "disabled"),
    ("gus", "Gus Brinkmann", "Old-Harbour-2020", "bcrypt", "DE", "Partner portal", "malformed"),
    ("iris", "Iris van Dijk", "Velvet!Compass9", "pbkdf2-sha256", "NL", "Mobile app", ""),
    ("jon", "Jon Ferreira", "Tin-Whistle-314", "ssha", "PT", "Loyalty club", ""),
    ("kim", "Kim Castellanos", "Blue_Barrow_506", "aspnet-v3", "ES", "Webshop", ""),
)


def personas() -> list[Person]:
    """Make the people the notebooks call by name."""
    return [
        Person(f"{key}@woodgrove.example", shown, password, scheme, country, app, "2026-10-28", trait)
        for key, shown, password, scheme, country, app, trait in PERSONAS
    ]


def crowd(rng: Random, count: int) -> list[Person]:
    """Make people with tidy rows; the awkward traits are planted afterwards."""
    taken: set[str] = set()
    people = []
    for _ in range(count):
        shown, address = names.person(rng, taken)
        app = rng.choices(("Webshop", "Mobile app", "Partner portal", "Loyalty club"), (45, 25, 18, 12))[0]
        people.append(
            Person(
                address=address,
                display_name=shown,
                password=names.strong_password(rng),
                scheme=rng.choices(hashing.SCHEMES, (38, 22, 20, 10, 10))[0],
                country=rng.choices(names.COUNTRIES, names.COUNTRY_WEIGHTS)[0],
                app=app,
                last_sign_in=_last_sign_in(rng, app),
            )
        )
    return people


def plant(people: list[Person], rng: Random) -> list[Person]:
    """Give a fixed number of people each awkward trait; nobody gets two traits of one group."""
    planted = list(people)
    order = rng.sample(range(len(people)), len(people))
    for trait, count in ACCOUNTS.items():
        for _ in range(count):
            place = order.pop()
            planted[place] = _awkward(planted[place], trait, rng)
    singles = [place for place, person in enumerate(planted) if person.trait != "duplicate"]
    order = rng.sample(singles, len(singles))
    for kind, count in ADDRESSES.items():
        for _ in range(count):
            place = order.pop()
            planted[place] = _readdressed(planted[place], kind, rng)
    return planted


def twins(people: list[Person], rng: Random) -> list[Person]:
    """Make the second row of everybody who is in the legacy store twice."""
    return [
        replace(
            person,
            exported_address=names.untidy(person.address, rng),
            password=names.strong_password(rng),
            last_sign_in=(date.fromisoformat(person.last_sign_in) - timedelta(days=400)).isoformat(),
        )
        for person in people
        if person.trait == "duplicate"
    ]


def build() -> tuple[str, str]:
    """Make both files.

    Returns:
        the text of `legacy_users.csv` and of `people.csv`.
    """
    rng = Random(SEED)
    named = personas()
    others = plant(crowd(rng, ROWS - len(named) - ACCOUNTS["duplicate"]), rng)
    seconds = twins(others, rng)
    exported = others + seconds
    rng.shuffle(exported)
    rows = [person.row(rng) for person in named + exported]
    typed = [(_typed(person, rng), person.password) for person in others]
    told = [(person.address, person.password) for person in named]
    return _csv(COLUMNS, rows), _csv(("username", "password"), told + typed)


def _awkward(person: Person, trait: str, rng: Random) -> Person:
    match trait:
        case "weak":
            return replace(person, trait=trait, password=names.weak_password(rng))
        case "non_ascii_password":
            return replace(person, trait=trait, password=names.non_ascii_password(rng))
        case "empty_hash" | "null_hash":
            return replace(person, trait=trait, scheme="")
        case "duplicate":
            return replace(person, trait=trait, last_sign_in="2026-09-30")
        case _:
            return replace(person, trait=trait)


def _readdressed(person: Person, kind: str, rng: Random) -> Person:
    local, _, domain = person.address.partition("@")
    match kind:
        case "untidy":
            return replace(person, exported_address=names.untidy(person.address, rng))
        case "plus_tag":
            return replace(person, address=f"{local}+{rng.choice(('shop', 'news', 'club'))}@{domain}")
        case _:
            return replace(person, address=person.address.replace(".", ".o'", 1))


def _last_sign_in(rng: Random, app: str) -> str:
    if rng.random() < 0.04:
        return ""
    typical = 500 if app == "Loyalty club" else 120
    days = min(int(rng.expovariate(1 / typical)), 1500)
    return (EXPORTED_ON - timedelta(days=days)).isoformat()


def _typed(person: Person, rng: Random) -> str:
    chance = rng.random()
    if chance < 0.03:
        return person.address.upper()
    return person.address.capitalize() if chance < 0.08 else person.address


def _csv(header: tuple[str, ...], rows: list[list[str]] | list[tuple[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description="Make the invented users and what they type.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the two files")
    out: Path = parser.parse_args().out
    export, people = build()
    (out / "legacy_users.csv").write_text(export, encoding="utf-8", newline="\n")
    (out / "people.csv").write_text(people, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
