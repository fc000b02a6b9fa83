"""Tests of the engine on scripts and a virtual clock: no time passes and no thread runs."""
