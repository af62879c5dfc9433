"""HTTP facts that both ends need, without sockets and without a clock: Digest, cookies, lenient headers, compression, limits."""
