"""Where records come from: one module per source type; only wiring knows them."""
