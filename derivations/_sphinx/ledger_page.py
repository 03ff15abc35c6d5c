"""The directive ``ledger``: an overview and a section for each equation, see ``ledger``."""

from docutils import nodes
from docutils.statemachine import StringList
from ledger import overview, table_of, title_of
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Ledger(SphinxDirective):
    """A section for each equation of the paper."""

    def run(self) -> list[nodes.Node]:
        """Make the overview and the sections."""
        first = nodes.container()
        self.state.nested_parse(StringList(overview(), "ledger"), self.content_offset, first)
        sections: list[nodes.Node] = [first]
        for number in range(1, 11):
            section = nodes.section(ids=[f"ledger-{number}"], names=[])
            section += nodes.title(text=title_of(number))
            lines = StringList(table_of(number), "ledger")
            self.state.nested_parse(lines, self.content_offset, section)
            sections.append(section)
        self.env.note_reread()  # a changed comment is no change of the page
        return sections


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("ledger", Ledger)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
