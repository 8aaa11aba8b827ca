"""How far a migration is: collect tables, compute figures, draw them, write a report.

`collect` makes the tables, `metrics` the figures, `charts` the pictures and `report` the page. Import these modules
where they are used: they need pandas.
"""
