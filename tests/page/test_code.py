"""The copied code, run for real: its vectors are those of the texts, whatever the texts contain."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.page.conftest import KEY, TEXTS, opened

FOLDER = Path(__file__).parent
ATTACKS = [
    "it's \"quoted\" 'twice' \\' \\\" '\\''",
    "back\\slash \\n \\\\ \\u0041 \\x41 \\",
    "$HOME ${HOME} $(echo no) `echo no` $((1+1)) %s",
    "</script><script>alert(1)</script> <!-- -->",
    "pizza \N{SLICE OF PIZZA} na\u00efve \u6f22\u5b57 \N{WOMAN}\u200d\N{WOMAN}\u200d\N{GIRL} \U0001d54f",
    "!! !$ !echo history",
    "'''triple''' \"\"\"triple\"\"\" {x} {{y}} ${z} #{w}",
    "right to left \u202e, line \u2028 and paragraph \u2029, zero \u200b width \ufeff",
    "@/etc/passwd",
    "-d @- ; rm -rf $TMP && exit | tee > no & #",
    "tab\tand \x07 bell \x7f \x85",
    '"], "model": "other", "input": ["injected',
    "JSON\\",
]


def run_curl(code: str, **environment: str) -> np.ndarray:
    # Pasted into an interactive shell, in which `!` recalls commands.
    script = f"set -o history -H\nAPI_KEY='{environment.get('API_KEY', '')}'\n{code}"
    body = json.loads(run(["bash", "--norc"], script))
    return np.array([row["embedding"] for row in body["data"]], np.float32)


def run_python(code: str, **environment: str) -> np.ndarray:
    dump = "import json\nprint(json.dumps([row.embedding for row in response.data]))\n"
    return np.array(
        json.loads(run([sys.executable, "-W", "error", "-"], code + dump, **environment).splitlines()[-1]), np.float32
    )


def run_javascript(code: str, **environment: str) -> np.ndarray:
    dump = "console.log(JSON.stringify(response.data.map((row) => row.embedding)));\n"
    command = ["node", "--input-type=module", "-"]
    return np.array(json.loads(run(command, code + dump, **environment).splitlines()[-1]), np.float32)


RUN = {"curl": run_curl, "Python": run_python, "JavaScript": run_javascript}


def run(command: list[str], code: str, **environment: str) -> str:
    done = subprocess.run(
        command, input=code, cwd=FOLDER, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("language", RUN)
def test_copied_code_gets_the_vectors_of_the_texts(tab, service, language):
    tab.embed(ATTACKS)
    vectors = service.vectors(ATTACKS)
    np.testing.assert_array_equal(RUN[language](tab.code(language)), vectors)
    tab.page.get_by_label("Dimensions").fill("64")
    np.testing.assert_array_equal(RUN[language](tab.code(language)), service.vectors(ATTACKS, 64))


@pytest.mark.parametrize("language", RUN)
def test_copied_code_hides_nothing_and_can_be_embedded_in_html(tab, language):
    tab.embed(ATTACKS)
    code = tab.code(language)
    assert not {character for character in code if not character.isprintable()} - {"\n"}
    if language == "JavaScript":
        assert "</script" not in code
        assert "<!--" not in code


@pytest.mark.parametrize("language", RUN)
def test_copied_code_reads_the_key_from_the_environment(context, protected_service, language):
    with opened(context, f"{protected_service.address}/") as tab:
        tab.page.get_by_label("API key").fill(KEY)
        tab.embed(TEXTS)
        code = tab.code(language)
    assert KEY not in code
    np.testing.assert_array_equal(RUN[language](code, API_KEY=KEY), protected_service.vectors(TEXTS))


def test_base_url_is_copied(tab, service):
    tab.page.locator("header").get_by_role("button", name="Copy").click()
    tab.expect_status("Copied")
    assert tab.page.evaluate("navigator.clipboard.readText()") == f"{service.address}/v1"


def test_code_is_copied_where_the_browser_grants_no_clipboard(tab):
    tab.embed(TEXTS)
    code = tab.code("Python")
    tab.page.evaluate("navigator.clipboard.writeText('')")
    tab.page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('insecure')); }")
    assert tab.code("Python") == code
    assert tab.page.evaluate("document.activeElement.id") == "copy-code"
