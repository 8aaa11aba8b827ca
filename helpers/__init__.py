"""Ordered notebooks and a small module that move customers' sign-ins to Microsoft Entra External ID."""
