"""Imports what every notebook needs, so that its cells do not wait for it; the names stay out of its namespace."""

from __future__ import annotations

import gc

import pandas  # noqa: F401

import helpers.local_endpoint
import helpers.tenant.users  # noqa: F401
import jitkit.rehearsal.tenant  # noqa: F401
from helpers import graph

graph.import_models()
# These objects stay: a garbage collection need not look at a million of them again.
gc.collect()
gc.freeze()
