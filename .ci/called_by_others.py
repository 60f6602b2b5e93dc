"""Names that vulture would take for unused, and what uses them. It reads this file as if the names were used here."""

# What asyncio calls on a protocol
_.connection_made
_.pipe_data_received
_.pipe_connection_lost
_.process_exited
_.connection_lost
_.get_buffer
_.buffer_updated
_.data_received
_.eof_received
_.pause_writing
sizehint  # the protocol's parameter: our buffer has one size

# What httpx reads or calls
_.extract_cookies
_._cookies
_.event_hooks
requires_request_body

# What other libraries read
_.row_factory  # sqlite3
_.writable  # print and Rich, of a stream
_.__signature__  # Typer
_.get_help
_.allow_extra_args
_.registered_groups
_._timer_cancelled_count  # the loop of asyncio
_.dont_write_bytecode  # the interpreter
_.handle_starttag  # html.parser
_.handle_endtag
_.handle_data
Catalogues  # hatchling, when the package is built
_.initialize
build_data
_.exitstatus  # pytest

# What is read by name
_.history_password  # settings/shared_history.py reads it before all settings are read

# What is named in a text
_._filler  # sketch/reading.py calls the method of a word's sort
_._not
_._number
_._colour
_._riding
_._clothes
_._undrawn
submitting  # display/theme.py reads the sign of a state by the state's name
Fetch  # types in quotation marks
Marker
Write

# Values of a choice that Typer offers by all its members
ON
OFF
RUN

# What only the tests call: a process keeps its secrets for good
forget

# Fields that stand for their kind, and parameters that a protocol wants
strict  # tests/test_schema.py: a switch among the kinds of settings
trace  # `__exit__`
mean  # benchmarks/polling.py prints the row as a whole
