"""The Debian package: `python -m deb FOLDER` leaves a .deb, its SBOM and the checksums beside the wheel."""
