# What marathon-envoy may do in Vault, and nothing else:
#
#   vault policy write marathon-envoy vault-policy.hcl
#
# The names are the defaults of the settings. Where yours differ, change the path with them; what
# does not fit your layout can go. The token needs no other policy: give it without `default`.

# Always: how long its token lives, and more of that life.

path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

# Its own certificate and those that its CA gave to others: VAULT_PKI_MOUNT/issue/VAULT_PKI_ROLE.
# To issue is to update. What may stand in the certificate is for the role to say, so let the role
# allow this daemon's names alone, for servers alone. The CA itself is public.

path "pki/issue/marathon-envoy-poc" {
  capabilities = ["update"]
}

# The certificates of the edge, in one of three layouts: keep its two paths, delete the other four.
#
# No glob is wider than `certificates/*`: beside it marathon-acme keeps `client_key`, the key of the
# account with which certificates for every host can be had. This daemon has no use for it.
# Nothing is listed either: `live` names what there is. Finding out the version of the KV engine
# takes no path of its own: Vault tells that of every mount below which a token may do anything.

# KV version 1 below VAULT_KV_MOUNT/MARATHON_ACME_KV_PATH, as the proof of concept had it.

path "secret/marathon-acme/live" {
  capabilities = ["read"]
}

path "secret/marathon-acme/certificates/*" {
  capabilities = ["read"]
}

# KV version 2 below the same path, as in docker-compose.yml.

path "secret/data/marathon-acme/live" {
  capabilities = ["read"]
}

path "secret/data/marathon-acme/certificates/*" {
  capabilities = ["read"]
}

# KV version 2 on a mount of marathon-acme's own, as marathon-acme writes it: VAULT_KV_MOUNT is
# `marathon-acme`, MARATHON_ACME_KV_PATH is empty.

path "marathon-acme/data/live" {
  capabilities = ["read"]
}

path "marathon-acme/data/certificates/*" {
  capabilities = ["read"]
}
