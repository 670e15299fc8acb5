"""What of ``fastgen goof`` needs no generator: options, help and signals."""

from __future__ import annotations

import signal

import pytest
from typer.testing import CliRunner

from fastgen.cli import goof as module
from fastgen.cli.app import app
from fastgen.goof import Ball, Box, Sphere


def test_domains_are_read():
    assert repr(module._domain("ball:2")) == repr(Ball(2.0))
    assert repr(module._domain("sphere:1.5")) == repr(Sphere(1.5))
    assert repr(module._domain("box:-1:2")) == repr(Box(-1.0, 2.0))
    assert module._latent_dim("100x1x1") == (100, 1, 1)
    assert module._latent_dim("7") == 7


def test_help():
    result = CliRunner().invoke(app, ["goof", "--help"])
    assert result.exit_code == 0
    for option in ("--weights", "--data", "--out", "--plot", "--store", "--json"):
        assert option in result.stdout


def test_sigterm_ends_a_search_as_ctrl_c_does():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), module._ended_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
