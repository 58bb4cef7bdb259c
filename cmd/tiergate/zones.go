package main

import _ "time/tzdata" // limits name time zones, which a machine or an image may not have
