"""An honest fake of an OpenAI-compatible provider: scripted agents, realistic timing, every fault on demand.

`brain` decides what is answered and when, without I/O. `server` speaks it over HTTP on loopback, `script` in
process on a virtual clock. Everything it writes is labelled simulated.
"""
