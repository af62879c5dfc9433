-- Rows of those kinds of which there are few and that nobody searches by content: users, webhooks, their deliveries, the audit log.
CREATE TABLE document (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    due REAL,
    record BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE INDEX document_due ON document (kind, due) WHERE due IS NOT NULL;
