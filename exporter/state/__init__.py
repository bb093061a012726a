"""Where identities, counts, quarantine and positions survive: ``memory`` (the reference) and ``sqlite``.

Both keep :class:`exporter.contract.State` and run the same suite, :class:`exporter.testing.state.StateContract`.
``generations`` is the rule by which identities are forgotten, ``migrations`` the history of the file's schema,
``database`` and ``lockfile`` what happens before a file is ours.
"""
