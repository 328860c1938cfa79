-- Written by hand after Supabase's documentation ("User Management") in November 2026: a table of one's own that refers to
-- auth.users, of which this has the key, the address, and the index that makes addresses unique, except those of SSO.
CREATE SCHEMA auth;
CREATE TABLE auth.users (
    id uuid NOT NULL,
    email character varying(255),
    is_sso_user boolean DEFAULT false NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX users_email_partial_key ON auth.users USING btree (email) WHERE (is_sso_user = false);
ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;

CREATE TABLE public.profiles (
    id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
    username text UNIQUE,
    full_name text,
    PRIMARY KEY (id)
);
ALTER TABLE public.profiles ENABLE ROW LEVEL SECURITY;
