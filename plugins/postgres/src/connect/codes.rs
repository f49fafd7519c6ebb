use model::Code;

/// What the errors of connecting mean, for `highwater explain`.
pub const CODES: &[Code] = &[
    Code {
        id: "E0240",
        title: "the PostgreSQL server cannot be reached or refuses",
        explain: "\
Nobody listens at that host and port, the network does not lead there, the connection broke, or the server starts, stops or
has no room (`max_connections`, `superuser_reserved_connections`, a limit of the role or the database). Those are tried again.
The message names every host that was tried.

    psql 'postgres://user@host:5432/database' -c 'SELECT 1'

from the same machine shows whether it is the server or us. Check `listen_addresses`, the port, firewalls.

The same code stands for something on that port that does not speak PostgreSQL's protocol, or stops speaking it in the middle of a
change stream. That is not tried again: please report it, with the server's version and what stands between (proxies, poolers).",
    },
    Code {
        id: "E0241",
        title: "the PostgreSQL server's name has no address",
        explain: "The name servers of this machine do not know the host. `getent hosts NAME` asks them. It is tried again.",
    },
    Code {
        id: "E0242",
        title: "the PostgreSQL server does not answer in time",
        explain: "\
Within `connect_timeout` (10 s) no session stood: a firewall drops packets, the server is overloaded, or it hangs while it
authenticates (LDAP, RADIUS, name look-ups). Each address of each host has the whole time. It is tried again.",
    },
    Code {
        id: "E0243",
        title: "the password for PostgreSQL is wrong or missing",
        explain: "\
The password comes from `password`, else from the URL, else from the password file (`passfile`, `PGPASSFILE`, `~/.pgpass`). The
file is ignored, with a warning, if its group or others have any access to it: `chmod 0600 ~/.pgpass`. A line is
`host:port:database:user:password`, `*` matches everything; for replication the database is the one that is connected to.

A role made with `CREATE ROLE name LOGIN` has no password; a password that was set under another `password_encryption` fails where
pg_hba.conf says `scram-sha-256`: set it again.",
    },
    Code {
        id: "E0244",
        title: "the PostgreSQL server does not admit this login",
        explain: "\
No line of pg_hba.conf fits user, database, address and encryption, or the line says `reject`, or the role does not exist or has
no LOGIN, or a client certificate is missing. The cause is the server's own message and says which. With `hostssl` lines the
connection must be encrypted: `sslmode: require` or more. A replication connection of ours names a database, so the lines for
that database apply, not those for `replication`. The role needs REPLICATION for it:

    ALTER ROLE highwater LOGIN REPLICATION;

After a change: `SELECT pg_reload_conf()`. Supported are SCRAM-SHA-256 (with channel binding under TLS), MD5, clear text, certificates
and trust; not GSSAPI and SSPI.",
    },
    Code {
        id: "E0245",
        title: "the PostgreSQL database is not there or may not be used",
        explain: "\
The server has no such database, or the role has no CONNECT privilege on it, or it does not allow connections. Names are
compared exactly, capitals too. `\\l` in psql lists them.",
    },
    Code {
        id: "E0246",
        title: "TLS with the PostgreSQL server could not be agreed on",
        explain: "\
The server has no TLS (`SHOW ssl`) and `sslmode` asks for it, or the handshake failed: no TLS version in common (we speak 1.2 and 1.3),
a client certificate that is missing or refused, or something else than PostgreSQL on that port.",
    },
    Code {
        id: "E0247",
        title: "the PostgreSQL server's certificate is not trusted",
        explain: "\
With `sslmode: verify-ca` and `verify-full`, and with `require` if there is a file of authorities, the server's certificate must be
signed by one of those in `sslrootcert` and be in date. `sslrootcert: system` takes the authorities of this machine. A self-signed certificate is
trusted if the file holds exactly it. A certificate of X.509 version 1 (made without extensions) cannot be checked: issue one
with subjectAltName.

The same code stands for a file of certificates or keys that is not there, cannot be read, or is not what it should be. A key may
be accessible to its owner only (0600), or to root and its group (0640); an encrypted key is not supported.",
    },
    Code {
        id: "E0248",
        title: "the PostgreSQL server's certificate is for another name",
        explain: "\
With `sslmode: verify-full` the certificate must name the host as it stands in the configuration, in subjectAltName, or in the common name if there is
no subjectAltName. An IP address must be there as one. See the names with

    openssl s_client -starttls postgres -connect HOST:5432 </dev/null | openssl x509 -noout -ext subjectAltName -subject

`verify-ca` does not look at the name: then everybody with a certificate of that authority can pose as the server.",
    },
    Code {
        id: "E0249",
        title: "none of the PostgreSQL servers is the primary",
        explain: "\
`target_session_attrs` asks for a primary (it is the default when there are several hosts) and every host that answered is a standby, or
read-only for `read-write`. During a failover this lasts until one is promoted; it is tried again. To read from a standby on purpose
write `target_session_attrs: any`.",
    },
];
