"""Every release since 0.2.0, kept for good as data: later versions open each of them (``test_kept_releases.py``).

A release has a folder under its number, made once by ``keep.py`` with the very program that is in it:

    data.tar.xz             bucket/         bronze, after the life that ``life.py`` tells
                            lakehouse.sql   the database then: everything done, nothing waiting
                            next/           what one more visit adds to the bucket
                            waiting.sql     the database when silver has applied that visit and gold has not
    env                     its .env: every setting of the release that needs no account
    figures.json            what the release itself said and held at each of these moments
    …whl                    the program
    requirements.txt.xz     its lock (packed, so that nobody takes it for the project's)
"""
