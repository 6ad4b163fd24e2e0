"""Records made into plain data to look at; HTML, terminal and JSON draw the same.

material reads → run, comparison, search, each from its parts (headline, curve, gauges, epochs) → page
"""

from trimtab.report.views.page import Page, page_of

__all__ = ["Page", "page_of"]
