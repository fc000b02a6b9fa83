"""The engine: runs a graph of agents and turns what they stream into one ordered stream of events.

`graph` and `strategies` say who reads whom, `plan` binds agents to models, `run` conducts. The engine knows
neither HTTP nor a terminal; time and network reach it through `facilitair.transport` alone.
"""
