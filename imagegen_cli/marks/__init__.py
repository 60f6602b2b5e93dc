"""What made a picture, written into the file and read out of it: plain functions over bytes, no pixel is unpacked."""
