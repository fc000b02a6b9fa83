"""The configuration of a server under measurement: runs of one agent, and no limit that a benchmark meets."""

import asyncio

from facilitair import Config
from facilitair.config import AgentConfig, ServerConfig, StrategyConfig

KEY = "sk-fac-for-the-bench-0123456789"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
CONFIG = Config(
    default_strategy="alone",
    strategy={
        "alone": StrategyConfig(
            agents=(
                AgentConfig(name="writer", role="coder"),
                AgentConfig(name="synthesizer", role="synthesizer", model="openai/brief"),
            ),
            synthesizer="synthesizer",
            synthesis="end",
        )
    },
    server=ServerConfig(port=0, max_runs=1000, max_runs_per_key=1000, requests_per_minute=None),
)
