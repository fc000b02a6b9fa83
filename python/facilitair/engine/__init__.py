"""The engine: runs a graph of agents and turns what they stream into one ordered stream of events.

`graph` and `strategies` say who reads whom and who answers, `plan` binds agents to models, `run` conducts; what it
asks is answered in small modules that do nothing by themselves. The engine knows neither HTTP nor a terminal; time and
network reach it through `facilitair.transport` alone.
"""
