"""What the kit makes in a tenant: one class a thing, each with `ensure`, `show` and `remove`."""
