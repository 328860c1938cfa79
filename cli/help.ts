// The help: one screen for each command, and no line longer than 60 columns.

/** The overview. */
export const OVERVIEW = `\
coatcheck: sessions in your PostgreSQL

Usage: npx coatcheck <command> [options]

  migrate         make the schema, or bring it up to date
  doctor          examine the database, say what to mend
  stats           how many sessions there are, of what kind
  list <user>     the sessions of a user
  show <id>       one session, whatever its state
  revoke <user>   end sessions of a user
  sweep           delete dead sessions
  grants <role>   the SQL that lets the app's role work
  help <command>  more about a command

Options of every command:
  --url <url>     the database; default: DATABASE_URL
  --json          one JSON document on standard output
  --help, --version

The database: postgres://user:password@host:5432/name
Exit code: 0 done, 1 failed, 2 wrong arguments,
130 stopped by Ctrl-C. doctor: 1 warnings, 2 errors.`;

/** The help of each command. */
export const HELP: Readonly<Record<string, string>> = {
  migrate: `\
Makes the schema coatcheck, or brings it up to date.

Usage: npx coatcheck migrate [options]

  --users <table:id:username>
                  your users table and its columns.
                  With the id, deleting a user deletes
                  their sessions: a foreign key. Names are
                  as in SQL: app."Users":id:email
  --notify        each revocation also notifies, for
                  coatcheck/cache. Later calls keep it
  --dry-run       say what would be applied, change nothing
  --print         print the SQL of all steps. Needs no
                  database. A step that was applied does
                  nothing. With --dry-run: only those that
                  are missing in the database
  --timeout <t>   for each step; default: 60s

It is safe to run again, and by several servers at once.
Run it with a role that may create schemas.

  npx coatcheck migrate --users users:id:username
  npx coatcheck migrate --users users:id --print | psql`,
  doctor: `\
Examines the database, and prints the SQL that mends it.
It changes nothing.

Usage: npx coatcheck doctor [options]

  --role <name>   the role of the app: has it its rights?
  --retention <t> how long you keep revoked sessions, as in
                  sweep; default: 30d
  --ignore <check>
                  leave out a check, by the name in the
                  output. May be given several times
  --full          read all users, if that is the only way
                  to know whether they are unique

Reads at most 5,000 sessions. Without --full, it reads the
users only if there are at most about 100,000.

Exit code: 0 if all is well or worth a note, 1 for
warnings, 2 for errors.

  npx coatcheck doctor --role web`,
  stats: `\
Counts the sessions: live (and guests among them), idle,
expired, revoked; live ones by age, new ones by day,
revoked ones by reason.

Usage: npx coatcheck stats [options]

  --idle-timeout <t>      that of the app; default: 7d
  --absolute-timeout <t>  that of the app; default: 30d
  --full                  read the whole table

Without --full it reads 5,000 rows and estimates the rest.
Sessions that were swept are not counted.

  npx coatcheck stats --json`,
  list: `\
Lists the live sessions of a user, the last used first.

Usage: npx coatcheck list <user> [options]

  --user-id       <user> is a key and no username
  --all           also idle, expired and revoked sessions
  --data          show the data. Without it, only JSON has
                  the names of its keys
  --limit <n>     1 to 10000; default: 20
  --after <id>    continue after this session
  --idle-timeout <t>      that of the app; default: 7d
  --absolute-timeout <t>  that of the app; default: 30d

  npx coatcheck list ada
  npx coatcheck list 42 --user-id --all`,
  show: `\
Shows one session, whatever its state.

Usage: npx coatcheck show <id> [options]

  --data          show the data, and not only its keys
  --idle-timeout <t>      that of the app; default: 7d
  --absolute-timeout <t>  that of the app; default: 30d

<id> is the part of a token before the dot. Never paste a
whole token into a shell: it would be in its history.

  npx coatcheck show 00000000-0000-4000-8000-000000000000`,
  revoke: `\
Ends sessions of a user at once.

Usage: npx coatcheck revoke <user> <which> [options]

  --id <id>       one session
  --except <id>   all but one
  --all           all

  --user-id       <user> is a key and no username
  --reason <text> what the row keeps; default: revoked
  --yes           do not ask

To lock a user out, first make new sign-ins fail, then
revoke. A terminal is asked; elsewhere --yes is needed.

  npx coatcheck revoke ada --all --reason stolen-laptop`,
  sweep: `\
Deletes dead sessions: expired ones, and revoked ones after
a while. Run it once an hour or once a day.

Usage: npx coatcheck sweep [options]

  --retention <t>     how long revoked sessions are kept;
                      default: 30d
  --idle-timeout <t>  also delete sessions not used for so
                      long; default: keep them
  --guest-idle-timeout <t>
                      the same for guests;
                      default: --idle-timeout, or 7d
  --yes               do not ask

It reads the whole table in steps, and waits for no lock.
Ctrl-C stops it between two steps. A terminal is asked;
elsewhere --yes is needed.

  npx coatcheck sweep --yes`,
  grants: `\
Prints the SQL that gives the app's role what it needs: no
DDL, and no rights on your users table.

Usage: npx coatcheck grants <role> [options]

  --apply         run it, as the owner of the schema

  npx coatcheck grants web | psql "$DATABASE_URL"
  npx coatcheck grants web --apply`,
};
