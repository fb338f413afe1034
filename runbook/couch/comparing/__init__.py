"""Do two sides hold the same documents?"""
