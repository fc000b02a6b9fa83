"""Where the models come from: what is known about each provider, which ones are there, and how a request to one
looks. All of them speak the OpenAI chat protocol with small differences, and the differences are data (`table.toml`).
"""
