"""Takes the endpoint to where Microsoft Entra can call it: packages, checks before going live, capacity."""
