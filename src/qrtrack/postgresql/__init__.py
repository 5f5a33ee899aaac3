"""The ways to PostgreSQL: the embedded server, connections and pools, the schema's revision, the role of organisations,
and what a failure means.
"""
