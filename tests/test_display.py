"""Results: escaped, captioned, with what was sent folded under them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from jitkit.display import Card, Sent, Table, figure
from jitkit.errors import KitError


def test_a_card_escapes_what_it_shows_and_names_its_status() -> None:
    card = Card(title="<App>", status="created", facts={"Name": "<script>alert(1)</script>"})
    page = card._repr_html_()
    assert "<script>" not in page
    assert "&lt;App&gt;" in page
    assert "<caption" in page
    assert 'scope="row"' in page
    assert repr(card) == "<<App>: created>"


def test_a_kind_of_card_keeps_the_one_line() -> None:
    @dataclass(frozen=True, kw_only=True)
    class App(Card):
        app_id: str

    assert repr(App(title="App", status="created", app_id="1")) == "<App: created>"


def test_what_was_sent_is_folded_under_the_result() -> None:
    sent = Sent("POST", "https://graph.microsoft.com/v1.0/applications", '{"displayName": "x"}', 201)
    page = Card(title="App", status="created", sent=(sent,))._repr_html_()
    assert "<details><summary>What was sent (1 request)</summary>" in page
    assert "-&gt; 201" in page
    assert "What was sent" not in Card(title="App", status="read")._repr_html_()


def test_a_table_has_column_headers_and_a_note() -> None:
    page = Table(caption="Who", columns=("a", "b"), rows=[(1, "<x>")], note="n & m: `await <y>`")._repr_html_()
    assert page.count('scope="col"') == 2
    assert "&lt;x&gt;" in page
    assert "n &amp; m: <code>await &lt;y&gt;</code>" in page


def test_a_card_without_facts_is_a_sentence_and_no_empty_table() -> None:
    page = Card(title="Drill", status="skipped")._repr_html_()
    assert page == "<p>Drill: <strong>skipped</strong></p>"


def test_code_in_a_cell_is_shown_as_code() -> None:
    table = Table(caption="c", columns=("Do",), rows=[("run `await s.check()` <now>",)])
    card = Card(title="t", status="read", facts={"Next": "`x` & y"})
    assert "run <code>await s.check()</code> &lt;now&gt;" in table._repr_html_()
    assert "<code>x</code> &amp; y" in card._repr_html_()


def test_a_table_without_rows_is_a_sentence() -> None:
    page = Table(caption="What is <wrong>", columns=("a", "b"), rows=[], note="Nothing.")._repr_html_()
    assert "<p>What is &lt;wrong&gt;: nothing.</p><p>Nothing.</p>" in page
    assert "<table" not in page


def test_short_cells_stay_on_one_line_and_long_names_may_break() -> None:
    page = Table(caption="Steps", columns=("After", "What"), rows=[("1,234 ms", f"{'x' * 40} is true")])._repr_html_()
    head, body = page.split("<tbody>")
    assert head.count("white-space:nowrap") == 2
    after, what = body.split("</td><td")
    assert "white-space:nowrap" in after and "overflow-wrap" not in after
    assert "overflow-wrap:anywhere" in what and "nowrap" not in what


def test_a_wide_table_can_be_moved_sideways_with_the_keyboard() -> None:
    wide = Table(caption='Who & "what"', columns="abcde", rows=["12345"])._repr_html_()
    assert wide.startswith('<div role="region" aria-label="Who &amp; &quot;what&quot;" tabindex="0" style="overflow-x')
    assert "tabindex" not in Table(caption="c", columns="abcd", rows=["1234"])._repr_html_()


@pytest.mark.parametrize("time", ["2026-11-29 08:59", "2026-11-29 08:59:12", "2026-11-29 08:59 UTC"])
def test_a_time_stays_on_one_line(time: str) -> None:
    page = Table(caption="Ledger", columns=("At",), rows=[(time,)])._repr_html_()
    assert f'white-space:nowrap">{time}</td>' in page


def test_lines_and_indents_stay_as_they_were() -> None:
    page = Card(title="Body", status="read", facts={"JSON": '{\n  "a": 1\n}', "Name": "a  b"})._repr_html_()
    assert ">{\n  &quot;a&quot;: 1\n}</pre>" in page
    assert "a&nbsp; b" in page


def test_a_figure_has_its_alternative_text() -> None:
    assert 'alt="&quot;10&quot; of 20"' in figure("data:image/png;base64,", '"10" of 20', "c")


def test_an_error_shows_a_notebook_reader_three_lines() -> None:
    error = KitError("It broke.", service="500", next_step="Fix it.")
    assert error._render_traceback_() == ["KitError: It broke.", "The service said: 500", "Next: Fix it."]
    assert str(KitError("It broke.", next_step="Fix it.")).count("\n") == 1


def test_an_error_breaks_between_words_and_never_inside_an_address() -> None:
    address = "https://jit.woodgrove.example/" + "a-b/" * 40
    error = KitError("It broke.", next_step="Ask the people who run this service for it. " * 5 + f"Open {address} now.")
    shown = error._render_traceback_()
    assert address in shown
    assert max(len(line) for line in shown if line != address) <= 100
    assert " ".join(shown) == " ".join(f"KitError: {error}".split())
