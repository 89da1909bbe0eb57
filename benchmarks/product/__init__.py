"""The whole product against the peers: wall clock, overhead, utilisation, gate, network."""
