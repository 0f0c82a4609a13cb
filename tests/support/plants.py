"""What a row, a server or a recipe might say to become part of a page, and what a Markdown page may hold of it: text alone."""

import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser

from markdown_it import MarkdownIt

PLANTS = (
    "mit\n---\nlicense: evil\n", "mit\r# Owned\r\rtext", "x\r\n\r\n## Owned\r\n\r\n![p](http://evil.example/p.png)", "![p](http://evil.example/p.png)",
    "[click](http://evil.example)", "[click][1]\n\n[1]: http://evil.example", "<http://evil.example>", "http://evil.example/a_b_c", "www.evil.example", "a@evil.example",
    "evil.example", "<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "<!-- hidden", "-->", "</table><h1>Owned</h1>", "<a href='javascript:alert(1)'>x</a>",
    "| a | b |\n|---|---|\n| ![p](http://evil.example) | c |", "\\| ![p](http://evil.example)", "` | ![p](http://evil.example) | `", "a|![p](http://evil.example)",
    "```\n\n# Owned\n\n```", "``` js", "~~~\n# Owned", "`x` ![p](http://evil.example)", "``![p](http://evil.example)", "` ![p](http://evil.example) ``", "\\`![p](http://evil.example)",
    "# Owned", "Owned\n===", "Owned\n---", "- a\n- b", "1. ![p](http://evil.example)", "> quoted", "    code", "*bold* _it_ __b__ ~~gone~~", "a\u2028# Owned\u2029![p](http://evil.example)",
    "a\x85# Owned", "\u202egnp.exe\u202c", "\u2066x\u2069", "zero\u200bwidth\ufeff", "\x1b[31mred\x1b[0m", "\x00", "&lt;img src=x&gt; &#60;b&#62;", "$$\\href{http://evil.example}{x}$$",
    "key: value # comment", "'quoted' \"twice\"", "{{ 7 * 7 }} {% raw %}", "!!python/object/apply:os.system ['true']", "&anchor *alias", "@someone #1 GH-2", "a" * 5000, "\\", "`", "|", "",
)  # fmt: skip
HARMLESS = (
    "cc-by-4.0",
    "CC BY-SA 4.0 (see the site)",
    "scenes train",
    "no_margin",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "person:1",
    "größer, 猫",
)
OF_THE_PAGE = {
    "Loading",
    "How it was made",
    "Counts",
    "Scores and lengths",
    "Judges",
    "People",
    "Sources",
    "Licences",
    "Columns",
}
RENDERERS = {
    "commonmark": MarkdownIt("commonmark").enable("table"),
    "all rules": MarkdownIt("js-default", {"html": True}),
}
UNSEEN = re.compile(r"[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def assert_only_text(page: str, name: str) -> None:
    """That a Markdown page, behind its front matter, holds no link, picture, HTML or heading but its own, and nothing that a reader cannot see."""
    assert not UNSEEN.search(page), UNSEEN.search(page)
    for renderer, markdown in RENDERERS.items():
        tokens = markdown.parse(page)
        inner = [child for token in tokens for child in token.children or ()]
        found = {token.type for token in (*tokens, *inner)}
        assert not found & {"html_block", "html_inline", "image", "link_open", "hr", "blockquote_open", "code_block"}, (
            renderer,
            found,
        )
        headings = {tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"}
        assert headings - OF_THE_PAGE <= {name}, (renderer, headings)
        assert {token.tag for token in tokens if token.type == "heading_open"} <= {"h1", "h2"}
        live = "".join(child.content for child in inner if child.type == "text")
        assert not re.search(r"://|www\.|@|\w\.example", live), (
            live
        )  # what a renderer that looks for addresses would find
    assert_tables_are_whole(page)


def assert_tables_are_whole(page: str) -> None:
    """That each row of a table has as many bars as its head, however a renderer counts those behind a backslash."""
    for table in re.findall(r"(?:^\|.*\n?)+", page, re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1, table


def text_of(page: str) -> str:
    """What a reader of a Markdown page sees."""
    return html.unescape(re.sub(r"<[^>]+>", "", RENDERERS["commonmark"].render(page)))


def everywhere(tree, texts: Iterator[str]):
    """A tree of dicts, lists and texts in which each text, and each name, says one of `texts` too."""
    if isinstance(tree, dict):
        return {f"{name} {next(texts)}": everywhere(value, texts) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [everywhere(value, texts) for value in tree]
    return f"{tree} {next(texts)}" if isinstance(tree, str) else tree


def planted_summary(summary: dict, texts: Iterator[str]) -> dict:
    """A run's summary whose name, steps, models, judges, reasons and currencies say `texts` too."""
    summary = summary | {"name": f"small {next(texts)}", "about": f"about {next(texts)}"}
    for named in ("judges", "money"):
        summary[named] = {f"{name} {next(texts)}": of for name, of in summary[named].items()}
    summary |= {name: everywhere(summary[name], texts) for name in ("rejections", "recipe")}
    summary["steps"] = {
        f"{step} {next(texts)}": of
        | {"models": {f"{model} {next(texts)}": usage for model, usage in of["models"].items()}}
        for step, of in summary["steps"].items()
    }
    summary["judges"] = {
        step: judge | {"annotator": f"{judge['annotator']} {next(texts)}"} for step, judge in summary["judges"].items()
    }
    return summary


class Names(HTMLParser):
    """The names of the tags and attributes of an HTML page."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.found: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.update((tag, *(name for name, _ in attrs)))
