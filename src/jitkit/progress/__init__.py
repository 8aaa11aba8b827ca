"""How far a migration is: collect tables, compute figures, draw them, write a report.

README.md lists the files. Import them where they are used: they need pandas.
"""
