"""The switches of the sign-in and of its logs."""

from __future__ import annotations

from typing import Final

from jitkit.rehearsal.switch import Switch

__all__ = ["SIGN_IN"]

SIGN_IN: Final = (
    Switch(
        "account_state_after_password",
        False,
        "Disabled accounts are refused only after the password was judged, by your endpoint too.",
        "Not documented which comes first.",
    ),
    Switch(
        "banned_passwords",
        True,
        "New and migrated passwords are checked against banned terms.",
        "Documented for new passwords, not for migrated ones. The global list is not published: some terms stand in.",
    ),
    Switch(
        "block_page_error",
        1100001.0,
        "This number is in the sign-in log when your endpoint answers Block.",
        "Not documented.",
    ),
    Switch(
        "callout_fault",
        0.0,
        "Every callout fails inside the service with this number, such as 1003000, 1003001 or 1003023; 0 for none.",
        "The numbers are documented; when the service fails so is not.",
    ),
    Switch(
        "conditional_access_blocks",
        False,
        "Conditional Access refuses every sign-in after the password was judged: 53003.",
        "That it comes after the first factor is documented; that the password is migrated by then is inferred.",
    ),
    Switch(
        "email_one_time_passcode",
        True,
        "People can reset a password with a one-time passcode sent to their e-mail address.",
        "Documented; it has to be turned on under Authentication methods. Whether a new tenant has it on is not.",
    ),
    Switch(
        "flag_lag",
        0.0,
        "The migration flag still reads true for so many seconds after a migration.",
        "Directories replicate with a delay; how long is not documented.",
    ),
    Switch(
        "lockout_growth",
        2.0,
        "Each further lock lasts so many times as long as the one before, a day at most.",
        "Documented: longer each time; the rate is deliberately not disclosed.",
    ),
    Switch(
        "lockout_seconds",
        60.0,
        "The first lock lasts so many seconds.",
        "Documented default: 60.",
    ),
    Switch(
        "lockout_threshold",
        10.0,
        "So many different wrong passwords close an account.",
        "Documented default: 10.",
    ),
    Switch(
        "log_delay",
        0.0,
        "Graph shows a row of a log so many seconds after it happened.",
        "Documented: minutes, not how many.",
    ),
    Switch(
        "missing_key_error",
        1003000.0,
        "The number in the sign-in log when the extension's app has no key to encrypt with.",
        "Not documented.",
    ),
    Switch(
        "newest_listener_wins_ties",
        False,
        "Of several listeners with the same priority the newest is executed, not the oldest.",
        "Not documented.",
    ),
    Switch(
        "older_audit_names",
        False,
        'The audit log says "Add custom authentication extension" instead of "Create customAuthenticationExtension".',
        "Both spellings were observed.",
    ),
    Switch(
        "p1_licence",
        True,
        "The tenant has the licence that Graph asks for to read sign-ins.",
        "Documented: Microsoft Entra ID P1; without it Graph answers 403 [observed].",
    ),
    Switch(
        "reset_clears_flag",
        False,
        "A self-service password reset marks the user as migrated at once.",
        "Not documented; off, the next sign-in matches the stored password and does it.",
    ),
    Switch(
        "response_limit_bytes",
        65536.0,
        "An answer of your endpoint that is larger is refused with 1003024.",
        "That there is a limit is documented, its size is not.",
    ),
    Switch(
        "second_factor_missing",
        False,
        "Every sign-in needs a second factor that the person does not have: 50076 after the password was judged.",
        "That it comes after the first factor is documented; that the password is migrated by then is inferred.",
    ),
    Switch(
        "silent_migration_is_audited",
        True,
        "A flag that turns false because the stored password matched leaves a row in the audit log.",
        "Not documented.",
    ),
    Switch(
        "update_password_clears_flag",
        True,
        "A new password chosen after UpdatePassword, or in place of a weak one, marks the user as migrated.",
        "Not documented.",
    ),
    Switch(
        "wrong_nonce_error",
        1003003.0,
        "The number in the sign-in log when your endpoint does not repeat the nonce.",
        "That it has to is documented; the number is not.",
    ),
)
