"""The page of a reconstruction's report."""

from __future__ import annotations

import re

import numpy as np

from fieldlab.export.web.report import Report, write_report

HOSTILE = '<script>alert("x")</script> & \udcff'


def test_all_texts_are_plain(tmp_path):
    report = Report(
        HOSTILE, HOSTILE, figures=[(HOSTILE, HOSTILE)], links=[("a b#.glb", HOSTILE)], stages=[(HOSTILE,) * 3],
        notes=[HOSTILE], missing=[(HOSTILE, HOSTILE)],
    )  # fmt: skip
    write_report(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 12
    assert 'href="a%20b%23.glb"' in page


def test_what_there_is_is_shown(tmp_path):
    report = Report("garden", "of 40 photographs", picture=np.zeros((4, 6, 3), np.uint8), video="orbit.mp4",
                    sheet="sheet.jpg", page="index.html", missing=[("mesh", "no surface")])  # fmt: skip
    write_report(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text()
    assert re.findall(r'src="([^"]{,20})', page) == ["orbit.mp4", "data:image/jpeg;base", "sheet.jpg"]
    assert 'href="index.html"' in page
    assert "mesh could not be made" in page
    assert "no surface" in page


def test_what_there_is_not_leaves_no_trace(tmp_path):
    write_report(tmp_path / "report.html", Report("garden", "of 40 photographs"))
    body = (tmp_path / "report.html").read_text().partition("<body>")[2]
    assert re.findall(r"<(\w+)", body) == ["main", "header", "h1", "p"]
