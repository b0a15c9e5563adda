"""The hostile world of the tests as product code: whole engines in virtual time, at a venue that lies; see README.md."""
