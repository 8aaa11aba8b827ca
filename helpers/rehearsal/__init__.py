"""A stand-in external tenant: its own directory, Microsoft Graph, tokens and sign-in. It shares no code with what it tests."""
