import pytest

from pipeline.dataset.licences import HUB, LISTED, front_matter, hub_name


@pytest.mark.parametrize("name", sorted(HUB))
def test_a_name_of_the_hub_is_itself(name):
    assert hub_name(name) == hub_name(name.upper()) == name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("CC BY-NC 4.0", "cc-by-nc-4.0"),
        ("CC-BY-4.0", "cc-by-4.0"),
        ("cc by 4", "cc-by-4.0"),
        ("ccby4.0", "cc-by-4.0"),
        ("CC-BY-SA-NC-4.0", "cc-by-nc-sa-4.0"),  # the parts in another order
        ("Attribution-NonCommercial-ShareAlike 4.0 International", "cc-by-nc-sa-4.0"),
        ("Creative Commons Attribution Non Commercial No Derivatives 4.0", "cc-by-nc-nd-4.0"),
        ("CC BY-NC 4.0 (non-commercial)", "cc-by-nc-4.0"),
        ("http://creativecommons.org/licenses/by-nc-sa/4.0/legalcode", "cc-by-nc-sa-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("CC0 1.0 Universal", "cc0-1.0"),
        ("MIT License", "mit"),
        ("The MIT License (MIT)", "mit"),
        ("https://opensource.org/license/mit/", "mit"),
        ("Apache 2.0", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("https://www.apache.org/licenses/LICENSE-2.0.txt", "apache-2.0"),
        ("GPL-3.0-or-later", "gpl-3.0"),
        ("GNU General Public License v3.0", "gpl-3.0"),
        ("https://www.gnu.org/licenses/gpl-3.0.en.html", "gpl-3.0"),
        ("LGPL-2.1-only", "lgpl-2.1"),
        ("GNU AGPLv3", "agpl-3.0"),
        ('BSD 3-Clause "New" or "Revised" License', "bsd-3-clause"),
        ("ODC-BY-1.0", "odc-by"),
        ("https://opendatacommons.org/licenses/by/1-0/", "odc-by"),
        ("Open Database License (ODbL)", "odbl"),
        ("https://cdla.dev/permissive-2-0/", "cdla-permissive-2.0"),
        ("Open Rail++-M License", "openrail++"),
        ("Llama 3.1 Community License Agreement", "llama3.1"),
        ("Gemma Terms of Use", "gemma"),
        ("FAIR Noncommercial Research License", "fair-noncommercial-research-license"),
        ("https://spdx.org/licenses/CC-BY-4.0.html", "cc-by-4.0"),
    ],
)
def test_a_licence_is_known_however_it_is_written(said, name):
    assert hub_name(said) == name


@pytest.mark.parametrize(
    "said",
    [
        "CC BY-NC",  # `cc` would drop the NC, and no version is stated
        "CC BY-SA 2.0",  # not in the Hub's list
        "CC BY-NC 4.0; some parts MIT",
        "MIT OR Apache-2.0",
        "CC-BY 3.0 US",  # another text than 3.0
        "MIT-0",
        "Apache",
        "Public Domain",
        "non-commercial research only",
        "https://example.org/mit",
        "null",
        "",
    ],
)
def test_what_the_hub_has_no_name_for_gets_none(said):
    assert hub_name(said) is None


def test_many_licences_are_counted_behind_the_most_frequent():
    stated = {f"licence of lab {i}": 100 - i for i in range(LISTED + 3)}
    listed = ", ".join(f"licence of lab {i}" for i in range(LISTED))
    assert front_matter(stated) == {"license": "other", "license_name": f"{listed}, 3 more"}
