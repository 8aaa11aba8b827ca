"""Simulated people: who they are, when they come, and how they sign in through the tenant's own sign-in."""
