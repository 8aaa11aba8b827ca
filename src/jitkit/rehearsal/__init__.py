"""A stand-in external tenant with its own directory, Graph, tokens and sign-in, sharing no code with what it tests."""
