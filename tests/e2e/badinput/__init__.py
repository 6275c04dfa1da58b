"""Bad input in a cluster: operations that are made from the definitions of the kinds, and what must come of each.

`fields` walks the definitions, `samples` finds a value that fits, `mutations` makes operations of each field, `rows`
adds those that no schema tells of, `sweep` runs them on lanes (`lane`), each a namespace with sound objects
(`seeds`); `oracle` judges, by what `mirror` sees of the cluster.
"""
