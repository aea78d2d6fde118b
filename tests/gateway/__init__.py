"""A stand-in for a Supabase project."""
