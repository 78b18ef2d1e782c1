"""Measuring retrieval: ranks of any matrix, reranking, result files and their comparison."""
