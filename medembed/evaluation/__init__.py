"""Measuring retrieval: tasks, results, comparisons that can be trusted, a leaderboard."""
