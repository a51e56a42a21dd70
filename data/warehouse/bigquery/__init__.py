"""A warehouse in Google BigQuery, on Google's own client."""
