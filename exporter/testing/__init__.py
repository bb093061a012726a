"""The public test kit. Needs pytest; the suites are classes to derive from, one for each protocol of the contract.

- :class:`exporter.testing.source.SourceContract`, :class:`exporter.testing.sink.SinkContract` and
  :class:`exporter.testing.state.StateContract`: the law of each protocol as tests;
- :class:`exporter.testing.clock.ManualClock`: a clock that only moves when somebody waits;
- :class:`exporter.testing.scripted.ScriptedSource`, :class:`exporter.testing.scripted.ScriptedSink`: faults as data.
"""
