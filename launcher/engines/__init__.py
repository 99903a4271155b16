"""From a deployment to a command: catalogs, weights, the differences between engines. Reads files, no other effects."""
