"""Two members on one mode: the classifier parts them, and the mixture stays with the data."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch")

from fastgen.gan import Balanced, GeneratorClassifier

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_torch_thread")]

STUDY = Path(__file__).resolve().parents[2] / "bench" / "studies" / "two_members.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("two_members", STUDY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [0, 1])
def test_members_overlap_without_a_classifier(study, seed):
    between, to_data, _ = study.run((), seed)
    assert between <= 0.75
    assert to_data <= 0.10


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.5])
def test_a_classifier_parts_them(study, beta):
    between, to_data, _ = study.run((GeneratorClassifier(beta),), 0)
    assert between >= 0.85
    assert to_data <= 0.10


def test_the_balance_rule_parts_them(study):
    between, to_data, _ = study.run((Balanced(0.5),), 0)
    assert between >= 0.85
    assert to_data <= 0.10
