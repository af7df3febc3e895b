"""The Debian package: `python -m deb WHEEL FOLDER` leaves a .deb, its SBOM and the checksums in FOLDER."""
