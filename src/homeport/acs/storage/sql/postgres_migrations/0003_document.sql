-- Rows of those kinds of which there are few and that nobody searches by content: users, webhooks, their deliveries, the audit log.
CREATE TABLE document (
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    due DOUBLE PRECISION,
    record BYTEA NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX document_due ON document (kind, due) WHERE due IS NOT NULL;
