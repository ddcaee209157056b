"""Scorers that give embeddings a distribution: BayesVLM and ProbVLM."""
